"""The demo: a real cluster, the real operator and sixty real tasks, watched live.

`stage.py` sets everything up, `scenes.py` is what happens on it. The end-to-end tests stand on the
same stage.
"""
