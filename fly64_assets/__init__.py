"""fly64_assets: how few photons and how little overlap can a ptychography scan get away with?"""

__version__ = "0.1.0"
