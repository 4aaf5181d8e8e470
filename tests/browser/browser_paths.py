"""The pages of a server whose folder holds the results of G1 and L4 and the report mlp.json."""

LABS = ("labs/gap", "labs/dynamics", "labs/rates", "labs/generalization", "labs/network?report=mlp.json")
CLAIMS = ("paper", "findings", "claims", "claims/G1", "claims/D1")
DERIVATIONS = ("derivation", "derivation/A", "derivation/D", "derivation/code/theory/gap.py")
ADDRESSES = ("", *CLAIMS, *DERIVATIONS, "network", "labs", *LABS, "discussion")
