from greetings import hello

print(hello.text())
