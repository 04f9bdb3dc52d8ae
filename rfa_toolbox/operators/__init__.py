"""The engine of all encoders: what operators do to positions, whatever format they were read from.

A reader lowers its format to a plain :mod:`.record` of operators, with the names of
:mod:`.vocabulary`. One table of :mod:`.rules` says what each operator does, one walk (the
:mod:`.trail`) turns the record into steps, and :mod:`.nodes` makes nodes of steps. Nothing here
knows a framework or a format.
"""
