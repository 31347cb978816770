"""The colours that the dock and its layers share."""

GREEN = "#3ce6a0"  # positive clicks; ready
RED = "#ff5a3c"  # negative clicks; failed
YELLOW = "#ffd23c"  # boxes; busy, in doubt
GREY = "#8a929c"
FOCUSED = "#2f86d6"  # the control that has the keyboard

# Of planes: darker, so that a mark in one of those above is seen on them.
READY, QUEUED, FAILED, NONE = "#3ca0e6", "#2b5878", "#d0502d", "#4a525c"

# Of carried masks, seen on dark and on light.
SURE, DOUBT, POOR = "#2fa36b", "#d99a00", "#d0502d"
