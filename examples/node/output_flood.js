const { writeSync } = require("fs");
for (;;) {
  writeSync(1, "spam spam spam\n");
}
