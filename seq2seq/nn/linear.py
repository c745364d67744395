"""The linear layer of every model."""

from torch import nn


class Linear(nn.Linear):
    """nn.Linear that starts from Glorot and Bengio's (2010) uniform weights and zero bias."""

    def reset_parameters(self) -> None:
        nn.init.xavier_uniform_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)
