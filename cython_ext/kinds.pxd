"""Which of its kinds of loops simd.h runs. What includes it sets ``cs_kind = number`` when it is imported."""


cdef int number
