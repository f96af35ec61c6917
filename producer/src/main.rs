#![doc = "The producer."] fn main() {}
