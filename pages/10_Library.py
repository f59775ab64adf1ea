"""What did we decide, on which figures, and do they still hold?"""

from cpi_model import ui

scenario = ui.frame("Library", "What did we save, and do its figures still hold?")
answer = ui.answer(scenario)
ui.subject(answer)
ui.save_scenario(answer)
chosen = ui.saved_scenarios(scenario)
if chosen is not None:
    ui.saved_scenario(chosen, scenario)
