# Compiler flags, as one interface target and one function for the kernels' instruction sets.

add_library(suan_flags INTERFACE)
target_include_directories(suan_flags INTERFACE ${PROJECT_SOURCE_DIR})
# Bits: no contraction, and no -ffast-math. errno and traps are given up since neither is used and
# both block vector code.
target_compile_options(suan_flags INTERFACE
  -Wall -Wextra -ffp-contract=off -fno-math-errno -fno-trapping-math
  -fno-semantic-interposition)
if(SUAN_SANITIZE)
  set(CMAKE_CXX_FLAGS_DEBUG "-Og -g1")  # line numbers are what reports need; -g costs a quarter more
  add_compile_options(-fsanitize=${SUAN_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${SUAN_SANITIZE})
endif()

# Reads the given headers once for a target: they are most of a small op's or kernel's compile time.
# ccache takes the result with -fpch-preprocess and the sloppiness set in the top CMakeLists.txt.
function(suan_precompile target)
  list(TRANSFORM ARGN PREPEND ${PROJECT_SOURCE_DIR}/)
  target_precompile_headers(${target} PRIVATE ${ARGN})
  target_compile_options(${target} PRIVATE -fpch-preprocess)
endfunction()

# Compiles every CPU kernel for one instruction set and appends the objects to suan_objects.
function(suan_add_kernels isa)
  add_library(suan_kernels_${isa} OBJECT ${suan_kernel_sources})
  target_link_libraries(suan_kernels_${isa} PRIVATE suan_flags)
  target_compile_definitions(suan_kernels_${isa} PRIVATE SUAN_ISA=${isa})
  # 64-byte vectors cross calls only inside one instruction set's namespace, so the warning that
  # their calling convention differs between sets does not apply.
  target_compile_options(suan_kernels_${isa} PRIVATE ${ARGN} -Wno-psabi $<$<CONFIG:Release>:-O3>)
  # Integers of these kernels wrap, as torch's and NumPy's do, and so do the exponent bits of their
  # vector functions. The others say so where they mean it, which leaves their index arithmetic to the
  # undefined-behaviour sanitizer.
  set(wrapping ${suan_kernel_sources})
  list(FILTER wrapping INCLUDE REGEX
    "/cpu/(scalar_[a-z_]*|scatter_add|index_put|as_strided_scatter_add|lib/math_eval).cpp$")
  set_source_files_properties(${wrapping} PROPERTIES COMPILE_OPTIONS -fwrapv
    SKIP_PRECOMPILE_HEADERS ON)
  suan_precompile(suan_kernels_${isa} core/op.h)
  if(suan_kernel_sources)
    set(suan_objects ${suan_objects} $<TARGET_OBJECTS:suan_kernels_${isa}> PARENT_SCOPE)
  endif()
endfunction()
