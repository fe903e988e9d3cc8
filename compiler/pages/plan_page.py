"""The front of plans and a memory map on one page that needs nothing but itself."""

from tinyc.compiler.pages.front_svg import front_svg
from tinyc.compiler.pages.memory_map_svg import memory_map_svg
from tinyc.compiler.pages.templates import filled
from tinyc.compiler.plans import Plans


def plan_page(plans: Plans) -> str:
    """The front as a picture and as a table, and the map of the plan that was asked for."""
    values = {
        "title": f"plans of {plans.model} for {plans.target}",
        "plans": plans,
        "front": front_svg(plans.points),
        "memory_map": memory_map_svg(plans.map),
    }
    return filled("plan.html.jinja", values)
