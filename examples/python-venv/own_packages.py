import example_weather

print(example_weather.forecast())
