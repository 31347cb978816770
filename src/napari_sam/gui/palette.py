"""The colours that the dock and its layers share."""

GREEN = "#3ce6a0"  # positive clicks; ready
RED = "#ff5a3c"  # negative clicks; failed
YELLOW = "#ffd23c"  # boxes; busy, in doubt
GREY = "#8a929c"
FOCUSED = "#2f86d6"  # the control with keyboard focus

# States of planes: darker, so that marks in the colours above stand out.
READY, QUEUED, FAILED, NONE = "#3ca0e6", "#2b5878", "#d0502d", "#4a525c"

# Quality of carried masks, visible in dark and light themes.
SURE, DOUBT, POOR = "#2fa36b", "#d99a00", "#d0502d"
