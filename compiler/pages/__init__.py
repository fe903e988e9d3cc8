"""Pictures and pages for people: the memory map and the front of plans, as SVG and HTML."""
