"""What is known of a training, whoever drives it: where it stands, what each phase has shown, what every step was.

Nothing in here knows of a recipe; who drives is asked for facts, and to run again what is looked into (`driver.Driver`).
"""
