from longcut import __version__

project = "longcut"
author = "The longcut authors"
project_copyright = "2026, The longcut authors"
release = __version__

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_gallery", "_story"]
nitpicky = True

html_theme = "furo"
html_title = f"longcut {release}"
