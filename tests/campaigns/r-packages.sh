#!/bin/sh
# What tests/campaigns/beside_r.py needs, from Debian's packages: R with lme4, lmerTest, pbkrtest, metafor, jsonlite. As root.
set -e
apt-get update -qq
apt-get install -y -qq r-base-core r-cran-lme4 r-cran-lmertest r-cran-pbkrtest r-cran-metafor r-cran-jsonlite
