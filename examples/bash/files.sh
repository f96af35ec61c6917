cat data/room.txt
bash tools/greet.sh "a b"
