#!/bin/sh
# What tests/campaigns/slurm_cluster.py needs, on Debian 12, as root.
set -eu
apt-get update
apt-get install -y slurm-wlm munge
