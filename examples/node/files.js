const { area } = require("./lib/shapes.js");
const room = require("fs").readFileSync("data/room.txt", "utf8").trim();
console.log("area", area(3, 4), "of", room);
