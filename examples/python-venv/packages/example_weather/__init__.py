"""Stands for a package that pip would have installed."""


def forecast():
    return "sunny with a chance of parsing"
