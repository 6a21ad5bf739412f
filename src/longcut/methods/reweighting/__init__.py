"""Methods that count some samples more than others, by class, group or loss."""
