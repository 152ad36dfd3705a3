"""TensorFlow and Keras, loaded together with this module: no other one imports them.

Whoever needs them writes `from tlkit.core.tensorflow import keras, tf` inside a function, so that
`import tlkit` stays free; for annotations they are imported by their own names, under TYPE_CHECKING. Loading
takes seconds. It raises a `SettingError` if Keras would run on something else than TensorFlow.
"""

from tlkit.core.keras_backend import check_keras
from tlkit.core.start_up import loading, set_log_level

set_log_level()
with loading():
    check_keras()

    import keras
    import tensorflow as tf

__all__ = ["keras", "tf"]
