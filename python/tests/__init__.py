"""Tests of the package `byol`, and of its agreement with the program where `BYOL` names one."""
