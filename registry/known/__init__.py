"""Tables of facts, each row with its source: tasks, languages, models, and the lab's world."""
