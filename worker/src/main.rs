#![doc = "The worker."] fn main() {}
