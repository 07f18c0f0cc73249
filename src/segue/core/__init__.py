"""Pure decisions: no await, no clock, no randomness, no I/O. Read it in one sitting.

``lifecycle``  the states of a run and every way between them
``branches``   what identifies a step within its run
``entries``    what the journal holds
``replay``     which recorded entry the flow gets next, and what has changed under it
``ladder``     what to do after an attempt
``graph``      a pipeline as data, and all that can be wrong with it
"""
