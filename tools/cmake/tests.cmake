# The C++ tests, one GoogleTest executable; and the benchmarks of tools/bench, one program a file,
# built only when asked for (target `benches`).

file(GLOB suan_test_sources CONFIGURE_DEPENDS tests/*.cpp)
if(NOT SUAN_AVX512)
  list(FILTER suan_test_sources EXCLUDE REGEX "/lib_kernels_avx512_test.cpp$")
endif()
if(suan_test_sources)
  enable_testing()
  find_package(GTest REQUIRED)
  # Kernels with seeded faults, loaded by tests/emulation_test.cpp: with the checker, or under ASan without.
  if(NOT SUAN_SANITIZE MATCHES thread)
    set(faults ${PROJECT_SOURCE_DIR}/tests/emulation/faults.cu)
    set(emulation ${PROJECT_SOURCE_DIR}/kernels/cuda/emulation)
    set(checker checker)
    set(checked -O1 -g1 -fsanitize=thread --param=tsan-instrument-func-entry-exit=0)
    set(linked -Wl,-Bsymbolic -Wl,--no-undefined)
    if(SUAN_SANITIZE)   # whose library is the program's
      set(checker no_checker)
      set(checked)
      set(linked -Wl,-Bsymbolic)
    endif()
    set_source_files_properties(${faults} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-x;c++;${checked}")
    file(GLOB emulator CONFIGURE_DEPENDS ${emulation}/*.cpp)
    list(FILTER emulator EXCLUDE REGEX "/(checker|no_checker|device|generated).cpp$")
    add_library(suan_emulation_faults SHARED ${faults} ${emulator} ${emulation}/${checker}.cpp)
    target_link_libraries(suan_emulation_faults PRIVATE suan_flags fmt::fmt)
    target_compile_options(suan_emulation_faults PRIVATE -fvisibility=hidden -Wno-unknown-pragmas)
    target_link_options(suan_emulation_faults PRIVATE ${linked})
    if(SUAN_NVCC)   # for test_cuda_nvcc.py
      set(out ${CMAKE_BINARY_DIR}/cuda/faults)
      add_custom_command(OUTPUT ${out}.o
        COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/cuda
        COMMAND ${SUAN_CCACHE} ${SUAN_NVCC} -std=c++20 -O3 -DFMT_USE_CONSTEXPR=1 -DFMT_CONSTEVAL=
          -I${PROJECT_SOURCE_DIR} -c -gencode=arch=compute_90a,code=sm_90a -o ${out}.o ${faults}
        DEPENDS ${faults} ${cuda_headers} VERBATIM)
      add_custom_target(cuda_faults DEPENDS ${out}.o)
    endif()
  endif()
  add_executable(suan_tests ${suan_test_sources})
  target_link_libraries(suan_tests PRIVATE suan_flags suan suan_onnx GTest::gtest_main)
  target_compile_definitions(suan_tests PRIVATE SUAN_AVX512=$<BOOL:${SUAN_AVX512}>)
  if(TARGET suan_emulation_faults)
    add_dependencies(suan_tests suan_emulation_faults)
    target_compile_definitions(suan_tests PRIVATE
      SUAN_FAULTS_LIBRARY="$<TARGET_FILE:suan_emulation_faults>")
  endif()
  add_test(NAME suan_tests COMMAND suan_tests)
  add_executable(onnx_run_model frontends/onnx/examples/run_model.cpp)
  target_link_libraries(onnx_run_model PRIVATE suan_flags suan_onnx)
endif()

file(GLOB suan_bench_sources CONFIGURE_DEPENDS tools/benches/*.cpp)
# oneDNN is a peer to measure against, with its own threads; the library does not link it. Linked by
# name: Debian's CMake package of it wants OpenCL's headers too.
find_package(OpenMP REQUIRED)
add_custom_target(benches)
foreach(source IN LISTS suan_bench_sources)
  cmake_path(GET source STEM name)
  add_executable(${name} EXCLUDE_FROM_ALL ${source})
  target_link_libraries(${name} PRIVATE suan_flags suan dnnl OpenMP::OpenMP_CXX)
  add_dependencies(benches ${name})
endforeach()
