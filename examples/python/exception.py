print("before", flush=True)
raise ValueError("no such luck")
