"""CPU time by stage."""
import time


class StageClock:
    """CPU seconds of this process, added up by stage.

    Attributes
    ----------
    seconds : dict of str to float
    """

    def __init__(self):
        self.seconds, self._last = {}, time.process_time()

    def stop(self, stage):
        """Add the CPU seconds since the last call, or since the clock was made, to a stage."""
        now = time.process_time()
        self.seconds[stage] = self.seconds.get(stage, 0.)+now-self._last
        self._last = now
