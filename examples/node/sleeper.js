console.log("good night");
setTimeout(() => {}, 3600 * 1000);
