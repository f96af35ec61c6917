const fs = require("fs");
const os = require("os");
const path = require("path");

try {
  for (let number = 0; number < 10000; number += 1) {
    fs.writeFileSync(path.join(os.tmpdir(), `${number}.bin`), Buffer.alloc(256 * 1024));
  }
} catch (error) {
  console.log(error.code);
}
console.log("still here");
