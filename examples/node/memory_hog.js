// Bounded, in case that nothing else bounds it here.
const hoard = [];
for (let taken = 0; taken < 512; taken += 1) {
  hoard.push(Buffer.alloc(1 << 20, 1));
}
console.log("took half a gigabyte");
