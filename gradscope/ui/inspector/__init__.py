"""The parts of the inspector: header, numbers, histogram, picture and values of the selected subject.

Which subject is selected is known by the dock; in here it is shown.
"""
