#![doc = "The warden."] fn main() {}
