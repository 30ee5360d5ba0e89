"""Closed forms. Every function runs on numbers, NumPy arrays, SymPy expressions and Arb balls."""
