"""Import weights from other libraries into networks of the same structure, and export them."""

from keras_cnns.networks.weights.transfer import from_keras, from_state_dict, to_state_dict

__all__ = ["from_keras", "from_state_dict", "to_state_dict"]
