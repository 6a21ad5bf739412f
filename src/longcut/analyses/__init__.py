"""What papers look at beside accuracy: each analysis is a function that returns its numbers.

Figures and tables are the SelecMix paper's where no other is named.

=========================  ===================================================================================
:func:`similarity_traces`  how alike a contrastive biased model finds the four kinds of pairs, epoch by epoch (Figure 2)
:func:`bias_accuracy`      how well a biased model knows the attribute (Table 3)
:func:`tsne`               an embedding in the plane (Figure 4)
:func:`curve`              runs over an option of the data or the method, such as label noise (Figures 3 and 5)
:func:`partner_share`      how many of the chosen partners contradict the shortcut, epoch by epoch
:func:`linear_probe`       what a linear layer on frozen features knows of the label
:func:`knn_probe`          what the nearest samples in a feature space say of the label
:func:`negatives`          the hardest and easiest negatives of an anchor (Figures 3 and 4 of Jang & Wang 2023), and
                           :func:`kinds`, what they have in common with it
:func:`activation_maps`    which places of an image speak for a class (Grad-CAM)
:func:`uncertainty`        how often a net was wrong about each group while it learned (UMIX), and
                           :func:`wrong_by_group`, the same from a record
=========================  ==========================================================================================
"""

from longcut.analyses.activation import activation_maps
from longcut.analyses.curves import curve, partner_share, varied
from longcut.analyses.embedding import tsne
from longcut.analyses.negatives import kinds, negatives
from longcut.analyses.probe import bias_accuracy
from longcut.analyses.probes import Probed, knn_probe, linear_probe
from longcut.analyses.similarity import pair_cosines, similarity_traces
from longcut.analyses.uncertainty import uncertainty, wrong_by_group

__all__ = [
    "Probed",
    "activation_maps",
    "bias_accuracy",
    "curve",
    "kinds",
    "knn_probe",
    "linear_probe",
    "negatives",
    "pair_cosines",
    "partner_share",
    "similarity_traces",
    "tsne",
    "uncertainty",
    "varied",
    "wrong_by_group",
]
