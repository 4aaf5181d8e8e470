"""The experiments behind the claims: functions from JSON data to JSON data, without a title, a figure or a verdict.

Each public function is a job of one or several claims. Its source, function by function with what it calls, enters the key
of its stored results; nothing that words or draws a number does. Functions import torch inside, so that the claims can be
listed without it.
"""
