"""From a query to ranked videos, and where in them it is found."""
