import shapes

with open("data/rooms/first.txt", encoding="utf-8") as room:
    print("area", shapes.area(3, 4), "of", room.read().strip())
with open("data/raw.bin", "rb") as raw:
    print(list(raw.read()))
