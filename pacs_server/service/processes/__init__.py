"""The processes of a server: who begins and ends them, who accepts, who keeps house, who watches."""
