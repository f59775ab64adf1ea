"""What is known about hardware, prices and models, since when, and from whom?"""

from cpi_model import ui

ui.frame("Catalog", "What is known, from whom, and how old is it?")
ui.catalog_tables()
