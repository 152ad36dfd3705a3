"""Refuse settings of Keras under which the same layers would give other numbers."""

from __future__ import annotations

from tlkit.errors import SettingError


def check_floatx() -> None:
    """Raise unless Keras's random numbers and initial weights are float32.

    Raises:
        SettingError: `floatx` is another; the message says what to call.
    """
    import keras

    if keras.config.floatx() != "float32":
        raise SettingError(
            f'tlkit needs Keras\'s floatx "float32", got {keras.config.floatx()!r}: call '
            'keras.config.set_floatx("float32"), or change `floatx` in keras.json'
        )


def check_keras_config() -> None:
    """Raise unless Keras builds layers for `[N, H, W, C]` in float32.

    Raises:
        SettingError: The image data format, the dtype policy or `floatx` is another.
    """
    import keras

    if keras.config.image_data_format() != "channels_last":
        raise SettingError(
            'tlkit needs Keras\'s image data format "channels_last", got '
            f"{keras.config.image_data_format()!r}: call "
            'keras.config.set_image_data_format("channels_last"), or change it in keras.json'
        )
    policy = keras.config.dtype_policy().name
    if policy != "float32":  # what is kept, and every engine, would give other numbers
        raise SettingError(
            f'tlkit needs Keras\'s dtype policy "float32", got {policy!r}: call '
            'keras.config.set_dtype_policy("float32"), or change `floatx` in keras.json'
        )
    check_floatx()
