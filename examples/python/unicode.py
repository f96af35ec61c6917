print("naïve café 東京 🦀")
