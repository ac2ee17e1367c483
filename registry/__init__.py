"""What a study is: manifests, facts about tasks, languages and models, stages, plans, and the run store.

Pure: standard library, pydantic and ruamel.yaml only. Imports neither `runners` nor `analysis`.
"""
