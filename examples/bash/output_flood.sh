yes spam spam spam
