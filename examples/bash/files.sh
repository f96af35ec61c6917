cat data/room.txt
./greet "a b"
