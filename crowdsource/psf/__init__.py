"""Point-spread functions: the contract, the models, their refit, import and export."""
