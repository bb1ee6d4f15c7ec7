"""Pictures of what a model did: attention (`heatmap`), learning curves and scores by length (`curves`).

Imports no torch, and matplotlib only when a curve is drawn.
"""
