"""How the demo models were trained and are judged: `world` renders captioned clips, `train` makes the weights,
`evaluate` measures them."""
